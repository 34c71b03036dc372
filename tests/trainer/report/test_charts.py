"""Charts as SVG in a page."""

from xml.etree import ElementTree

from trainer.report.charts import effect, inline_svg


def test_a_chart_may_have_any_name() -> None:
    name = r'success of "a\1" <b> & c'
    chart = ElementTree.fromstring(inline_svg(effect({"0": [1.0, 2.0]}, label="success"), name))
    assert chart.get("aria-label") == name
