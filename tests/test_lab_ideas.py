"""Ideas of the wider reading list that are short enough to be tests."""

import pytest

from vdmcompress.lab import ROWS, Setting, run


@pytest.mark.parametrize("name", [name for name, row in ROWS.items() if row.is_test and name[0] == "X"])
def test_row_holds(name):
    finding = run(name, Setting())
    assert finding.passed, finding.measured
