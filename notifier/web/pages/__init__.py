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
    task,
    tasks,
    timeline,
)
from notifier.web.requests import SiteRoute

_MODULES = (
    now,
    tasks,
    task,
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
SITE: tuple[SiteRoute, ...] = tuple(route for module in _MODULES for route in module.routes)
"""Every page and every action."""
