from engine.embedding_files import embedding_files
from engine.workspace import Workspace


def test_words_are_names_of_files_in_any_folder_and_the_workspace_comes_first(tmp_path):
    own, given = tmp_path / "data" / "models" / "embeddings", tmp_path / "given"
    for file in ("style.pt", "style.safetensors", "sub/Bad Hands.bin", "notes.txt", ".hidden/no.pt", "ba.preview.png"):
        (own / file).parent.mkdir(parents=True, exist_ok=True)
        (own / file).touch()
    for file in ("STYLE.safetensors", "か\u3099.pt"):  # macOS writes ga as ka and a mark
        given.mkdir(exist_ok=True)
        (given / file).touch()
    found = embedding_files(Workspace(tmp_path / "data", embedding_folder=given))
    assert found == {"Bad Hands": own / "sub/Bad Hands.bin", "style": own / "style.safetensors", "が": given / "か\u3099.pt"}
    assert list(found) == ["Bad Hands", "style", "が"]


def test_folders_that_are_not_there_hold_nothing(tmp_path):
    assert embedding_files(Workspace(tmp_path, embedding_folder=tmp_path / "gone")) == {}
