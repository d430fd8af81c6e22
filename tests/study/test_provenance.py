"""A manifest tells the command line, but no secret."""

from accord.study.provenance import command, versions


def test_secrets_are_hidden(monkeypatch):
    monkeypatch.setenv("MY_API_KEY", "correct-horse-battery")
    words = ["accord", "gap", "--token", "abc", "--api-key=def", "--model", "https://me:pass@host/m", "--limit", "8"]
    shown = command([*words, "hf_abcdefghijkl", "x=correct-horse-battery"])
    for secret in ("abc", "def", "pass", "correct-horse"):
        assert secret not in shown
    assert "--model" in shown and "@host/m" in shown and "--limit 8" in shown


def test_python_m_accord_is_accord(monkeypatch):
    monkeypatch.setattr("sys.argv", ["/somewhere/accord/__main__.py", "gap", "--task", "two words"])
    assert command() == "accord gap --task 'two words'"


def test_versions_name_what_the_numbers_depend_on():
    assert versions().keys() == {"python", "accord", "torch", "transformers", "numpy"}
