import csv
import re
from pathlib import Path

import pytest

from utils.data import faults as kinds
from utils.data.faults import HANDLING, Fault, check_faults_file, write_faults
from utils.errors import UserError

README = Path(__file__).parents[3] / "README.md"


def test_every_kind_of_fault_says_how_it_is_handled():
    named = {
        value
        for name, value in vars(kinds).items()
        if re.fullmatch("[A-Z_]+", name) and isinstance(value, str)
    }
    handled = {*HANDLING.values()}
    assert set(HANDLING) == named - handled


def test_a_list_has_one_line_per_fault_in_a_stable_order(tmp_path):
    faults = [
        Fault(kinds.UNKNOWN_CLASS, Path("b.xml"), 'a, "b"'),
        Fault(kinds.UNREADABLE_IMAGE, Path("浣熊.jpg"), "damaged"),
        Fault(kinds.LONE_IMAGE, Path("odd\nname\udcff.jpg")),
        Fault(kinds.UNKNOWN_CLASS, Path("a.xml"), "x"),
        Fault(kinds.UNKNOWN_CLASS, Path("a.xml"), "x"),
    ]
    path = tmp_path / "faults.csv"
    write_faults(path, faults)
    assert path.read_text(encoding="utf-8").splitlines() == [
        "file,kind,handling,detail",
        r"odd\nname\udcff.jpg,image without annotation,image left out,",
        "a.xml,unknown class,object left out,x",
        'b.xml,unknown class,object left out,"a, ""b"""',
        "浣熊.jpg,unreadable image,image left out,damaged",
    ]
    with path.open(encoding="utf-8", newline="") as file:
        assert list(csv.DictReader(file))[2]["detail"] == 'a, "b"'
    write_faults(path, reversed(faults[:4]))
    assert len(path.read_text(encoding="utf-8").splitlines()) == 5


def test_the_folder_is_checked_before_the_data_are_read(tmp_path):
    check_faults_file(tmp_path / "faults.csv")
    check_faults_file(None)
    with pytest.raises(UserError, match=r"--faults .*nowhere.*no folder"):
        check_faults_file(tmp_path / "nowhere" / "faults.csv")
