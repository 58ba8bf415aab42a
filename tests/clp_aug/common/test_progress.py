"""Progress that nobody watches, and what a watcher is."""

from clp_aug.common.progress import unwatched


def test_unwatched_gives_back_what_it_got():
    """The very rows, lazily: nothing is gone through before somebody does it."""
    rows, asked = [3, 1, 2], []
    assert unwatched(rows, "LOAD train") is rows

    def lazy():
        for row in rows:
            asked.append(row)
            yield row

    found = unwatched(lazy(), "LOAD train")
    assert asked == []
    assert next(iter(found)) == 3
    assert asked == [3]
    assert list(found) == [1, 2]
