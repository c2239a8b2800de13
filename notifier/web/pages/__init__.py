"""The pages: one module for each, with what it reads, the facts that it shows, and its `routes`.

A new page is a module, a template of the same name, and the module's name below.
"""

from notifier.web.pages import (
    configuration,
    deliveries,
    delivery,
    expected_runs,
    keyboard,
    mutes,
    now,
    report_preview,
    reports,
    sessions,
    statistics,
    timeline,
)
from notifier.web.requests import ActionRoute, PageRoute

_MODULES = (
    now,
    timeline,
    statistics,
    reports,
    report_preview,
    expected_runs,
    deliveries,
    delivery,
    configuration,
    mutes,
    keyboard,
    sessions,
)
SITE: tuple[PageRoute | ActionRoute, ...] = tuple(route for module in _MODULES for route in module.routes)
"""Every page and every action."""
