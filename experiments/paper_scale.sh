#!/usr/bin/env bash
# CIFAR-10-LT 100:1 at the paper's length: ResNet-32, 200 epochs; cross entropy, logit adjustment, MWN, Meta-LP, CLP.
#
#   experiments/paper_scale.sh --root data --minutes 60
#       [--device auto] [--workers 10] [--seeds 10] [--work bench/paper-scale] [--out results]
#
# It takes as many seeds as the minutes allow, several runs at once on one device, seed by seed; given again it goes on
# where it was. Of the seeds whose runs are all done it writes OUT/table2-paper; where none is whole, of the methods of
# the first seed that are done. root: the folder that holds cifar10/. DRY_RUN=1: the same on the CPU with few pictures
# and one epoch, which shows that it runs and nothing else; its table goes to WORK/results.
set -euo pipefail

root="" minutes="" device=auto workers=10 seeds=10 work=bench/paper-scale out=results
methods=erm,la,mwn,meta-lp,clp
table=table2

fail() {
    echo "error: $1" >&2
    exit 2
}

while [ $# -gt 0 ]; do
    [ $# -gt 1 ] || fail "$1: expected an option and its value; see the head of this file"
    case $1 in
        --root) root=$2 ;;
        --minutes) minutes=$2 ;;
        --device) device=$2 ;;
        --workers) workers=$2 ;;
        --seeds) seeds=$2 ;;
        --work) work=$2 ;;
        --out) out=$2 ;;
        *) fail "$1: no such option; there are --root --minutes --device --workers --seeds --work --out" ;;
    esac
    shift 2
done
[ -n "$root" ] || fail "give --root, the folder that holds cifar10/"
[ -d "$root/cifar10" ] || fail "--root $root: there is no folder cifar10 in it"
[[ $minutes =~ ^[1-9][0-9]*$ ]] || fail "--minutes '$minutes': expected a whole number of minutes, 1 or more"
[[ $seeds =~ ^[1-9][0-9]*$ ]] || fail "--seeds '$seeds': expected how many, 1 or more"
CLP_DATA=$(cd "$root" && pwd)
export CLP_DATA
mkdir -p "$work"

if [ "${DRY_RUN:-}" = 1 ]; then
    device=cpu out=$work/results
    declared=$(python -c 'from clp_train.bench.spec import FOLDER; print(FOLDER / "table2.toml")')
    table=$work/table2.toml
    sed '/^\[columns.c10-100.paper\]/,/^$/ {
        s/"--meta", "10\/class"/"--meta", "2\/class", "--limit", "60", "--matte", "centre"/
        s/"cifar-lt"\]/"cifar-lt", "--epochs", "1", "--model", "resnet8", "--batch-size", "20"]/
    }' "$declared" >"$table"
    for cut in '"--limit", "60"' '"--epochs", "1"'; do
        grep -q -- "$cut" "$table" || fail "$declared is not as DRY_RUN knows it"
    done
fi

column=("$table" --scale paper --columns c10-100 --work "$work" --out "$out")

# bench METHODS SEEDS [MORE...]: the table's command
bench() {
    clp-bench "${column[@]}" --methods "$1" --seeds "$2" "${@:3}"
}

# is_done METHODS SEEDS: whether all runs of some methods and of the first so many seeds are done
is_done() {
    local last
    last=$(bench "$1" "$2" --dry-run | tail -n 1)
    [[ $last =~ ^([0-9]+)\ of\ ([0-9]+)\ done$ ]] && [ "${BASH_REMATCH[1]}" = "${BASH_REMATCH[2]}" ]
}

echo "$methods, $seeds seeds at most, $workers runs at once on $device, $minutes minutes"
code=0
timeout --signal=TERM "${minutes}m" clp-bench "${column[@]}" --methods "$methods" --seeds "$seeds" \
    --workers "$workers" --device "$device" || code=$?
case $code in
    0) exit 0 ;; # all seeds are done, and the table is written
    124 | 130) echo "time is over; given again, this command goes on" ;;
    *) echo "clp-bench ended with exit code $code; what is done is kept" >&2 ;;
esac

# Time is over, or a run failed.
whole=0
while [ "$whole" -lt "$seeds" ] && is_done "$methods" $((whole + 1)); do whole=$((whole + 1)); done
if [ "$whole" -gt 0 ]; then
    bench "$methods" "$whole" --quiet
else
    finished=""
    for method in ${methods//,/ }; do
        if is_done "$method" 1; then finished=$finished,$method; fi
    done
    if [ -n "$finished" ]; then bench "${finished#,}" 1 --quiet; else echo "no run is done yet; nothing was written"; fi
fi
bench "$methods" "$seeds" --dry-run | tail -n 1
case $code in 124 | 130) ;; *) exit "$code" ;; esac
