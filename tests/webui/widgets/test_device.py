from __future__ import annotations

import pytest

from engine.fitting import TABLE, DeviceProfile, refusals
from webui.i18n import LANGUAGES, t
from webui.widgets.device import SIGN, device_html
from webui.widgets.html import esc

M3 = DeviceProfile("mps", "Apple <M3>", memory_mib=16 * 1024)
EVERYTHING = DeviceProfile("cuda", "H100", (9, 0), 80 * 1024, bfloat16=True, bitsandbytes=True)


@pytest.mark.parametrize("code", LANGUAGES)
def test_every_refusal_stands_in_the_table_with_its_reason(code: str) -> None:
    html = device_html(M3, code)
    assert "Apple &lt;M3&gt;" in html and "16.0 GiB" in html
    for setting in TABLE:
        assert esc(t(f"text.device.row.{setting}", code)) in html
        for reason in refusals(M3, setting).values():
            assert esc(t(f"text.device.why.{reason}", code)) in html
    assert f"{SIGN} bfloat16, float16: " in html


@pytest.mark.parametrize("code", LANGUAGES)
def test_a_device_that_can_do_everything_and_one_not_known(code: str) -> None:
    html = device_html(EVERYTHING, code)
    assert SIGN not in html and "80.0 GiB" in html and t("text.device.nothing", code) in html
    assert device_html(None, code).count("<") == 2
