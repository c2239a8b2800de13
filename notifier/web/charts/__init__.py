"""Geometry of the charts: facts become frozen marks with x in per cent and y in pixels, which templates draw as SVG.

Pure, and without words: `templates/charts.html` names the marks in the reader's language. Text keeps its size because
no SVG has a viewBox, so one chart serves a phone and a wall screen.
"""
