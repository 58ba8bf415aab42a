from clp_aug.common.files import written_beside


def test_written_beside_replaces_only_when_complete(tmp_path):
    path = tmp_path / "page.html"
    path.write_text("old")
    with written_beside(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
        assert temporary.parent == path.parent
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]
