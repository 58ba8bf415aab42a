#!/usr/bin/env bash
# Make the sample pages and the pictures of README again: bash docs/samples/make.sh [FOLDER OF THE TOOLS]
# It takes about ten minutes on one core. Screenshots need chromium; without it the old ones stay.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
images=$here/../images
bin=${1:-$here/../../.venv/bin}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

"$bin/clp-augment" --dataset demo --cf tile,random --f random,mix-rand --size 40 --out meta.h5
"$bin/clp-train" --meta meta.h5 --method erm --out runs/plain
"$bin/clp-train" --meta meta.h5 --method clp --out runs/clp
"$bin/clp-augment" --audit --dataset demo --size 40 --remove cagan --out audit.h5

"$bin/clp-inspect" meta.h5 --html "$here/contact-sheet.html" --rows 16
cp runs/clp/page.html "$here/run.html"
"$bin/python" "$here/strip.py" audit.h5 runs/plain runs/clp --out "$images/before-and-after.png" \
    --page "$here/audit.html" --rows 8

shot() { # PAGE PICTURE WIDTH,HEIGHT LEFT,TOP,RIGHT,BOTTOM
    chromium --headless --no-sandbox --disable-gpu --hide-scrollbars --window-size="$3" \
        --screenshot="$work/shot.png" "file://$1" 2> /dev/null
    "$bin/python" -c 'import sys; from PIL import Image
picture = Image.open(sys.argv[1]).convert("RGB").crop([int(side) for side in sys.argv[3].split(",")])
picture.quantize(128, dither=Image.Dither.NONE).save(sys.argv[2], optimize=True)' "$work/shot.png" "$images/$2" "$4"
}
if command -v chromium > /dev/null; then
    shot "$here/audit.html" audit.png 1160,455 0,0,1160,455
    shot "$here/contact-sheet.html" contact_sheet.png 1160,1000 0,318,746,964
    shot "$here/../../results/waterbirds-2026-cpu/table.html" table.png 1240,702 0,0,1240,702
fi
