import subprocess
import sys

import pytest

import promptlab

PUBLIC = {
    *("PVP", "Example", "Pattern", "Plan", "PromptClassifier", "PromptGenerator", "PromptlabError"),
    *("Results", "Task", "Verbalizer", "adapt", "load_backbone", "load_task", "sample_shots"),
}


def test_the_public_names_are_those_of_the_design():
    assert set(promptlab.__all__) == PUBLIC


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_every_public_name_is_there(name):
    assert getattr(promptlab, name).__name__ == name


def test_public_names_show_up_in_dir():
    assert set(dir(promptlab)) >= PUBLIC


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = promptlab.nonsense


def test_the_version_is_that_of_the_installed_package():
    from importlib.metadata import version

    assert promptlab.__version__ == version("promptlab")


def test_importing_the_package_imports_nothing_else_of_ours():
    code = "import sys, promptlab; print([name for name in sys.modules if name.startswith('promptlab.')])"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"
