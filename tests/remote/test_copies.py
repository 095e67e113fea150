"""Folders of files: what is copied is whole, or it is said that it is not."""

from __future__ import annotations

import uuid

import pytest

from dask_em.remote.files import open_files


def fill(files):
    files.system.makedirs(f"{files.path}/pass-7/c", exist_ok=True)
    files.write("checkpoint.json", b"{}")
    for name in ("zarr.json", "c/0", "c/1"):
        files.write(f"pass-7/{name}", name.encode())


@pytest.fixture
def memory():
    root = f"memory://{uuid.uuid4().hex}"
    yield root
    files = open_files(root)
    files.system.rm(files.path, recursive=True)


@pytest.mark.parametrize("where", ["folder", "memory", "bucket"])
def test_a_folder_is_copied_with_all_in_it_and_again_to_the_same_place(where, request, tmp_path):
    root, options = str(tmp_path), None
    if where == "memory":
        root = request.getfixturevalue("memory")
    if where == "bucket":
        bucket = request.getfixturevalue("bucket")
        root, options = bucket.url("em"), bucket.options
    files, to = open_files(f"{root}/from", options), open_files(f"{root}/to", options)
    fill(files)
    for _ in range(2):
        for name in files.names():
            files.copy(name, to)
        assert list(to.all_files()) == list(files.all_files())


@pytest.mark.parametrize("there", [True, False])
def test_a_folder_is_copied_to_another_file_system(there, memory, tmp_path):
    folder, other = open_files(str(tmp_path / "from")), open_files(f"{memory}/to")
    files, to = (folder, other) if there else (other, folder)
    fill(files)
    for _ in range(2):
        for name in files.names():
            files.copy(name, to)
        assert list(to.all_files()) == list(files.all_files())
    with pytest.raises(FileNotFoundError):
        files.copy("pass-8", to)


def test_what_vanishes_while_it_is_copied_is_not_passed_over(memory, monkeypatch):
    files, to = open_files(f"{memory}/from"), open_files(f"{memory}/to")
    fill(files)
    find = files.system.find

    def vanishing(path):
        found = find(path)
        files.system.rm(f"{path}/c/1")
        return found

    monkeypatch.setattr(files.system, "find", vanishing)
    with pytest.raises(FileNotFoundError):
        files.copy("pass-7", to)
    monkeypatch.undo()
    files.remove("pass-7")
    with pytest.raises(FileNotFoundError):
        files.copy("pass-7", to)
