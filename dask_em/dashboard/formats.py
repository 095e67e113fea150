"""How the table of jobs shows its cells: templates that the browser fills.

What comes from a job is escaped, so it is always in ``<%- %>`` and never in ``<%= %>``.
"""

from __future__ import annotations

import json

from dask_em.dashboard.colours import STATES

__all__ = ["AGE", "COUNT", "OBJECTIVE", "PROGRESS", "RATE", "STATE", "TEXT", "WHAT"]

TEXT = '<span title="<%- value %>"><%- value %></span>'
WHAT = '<span title="<%- value %>, of <%- data %>"><%- value %></span>'
STATE = (
    f'<span style="color: <%- ({json.dumps(STATES)})[value] %>">&#9679;</span>&nbsp;<%- value %>'
)
OBJECTIVE = "<%- isFinite(value) ? Number(value).toPrecision(8) : '' %>"
RATE = (
    "<% var units = ['', ' k', ' M', ' G', ' T'], i = 0, x = value;"
    " while (x >= 999.5 && i < 4) { x /= 1000; i++; } %>"
    "<%- isFinite(x) ? (x >= 99.95 ? x.toFixed(0) : x.toPrecision(3)) + units[i] : '' %>"
)
COUNT = "<%- value || '' %>"
AGE = "<%- age %>"  # in words; the column is sorted by time
# the wide bar is that of the passes, the thin one that of the tasks of the pass that goes on
PROGRESS = (
    "<% var whole = state == 'done' ? 1 : max_passes ? Math.min(1, passes / max_passes) : 0,"
    " part = state == 'running' && tasks ? Math.min(1, tasks_done / tasks) : 0,"
    " most = max_passes ? ' / ' + max_passes : '',"
    " now = part ? ', and ' + tasks_done + ' of ' + tasks + ' tasks' : ''; %>"
    '<div title="<%- passes %><%- most %> passes<%- now %>"'
    ' style="display: flex; align-items: center; gap: 8px; height: 100%">'
    '<div style="flex: 1; background: rgba(128, 128, 128, 0.18)">'
    f'<div style="height: 8px; width: <%- 100 * whole %>%;'
    f' background: <%- ({json.dumps(STATES)})[state] %>; opacity: 0.75"></div>'
    '<div style="height: 3px; width: <%- 100 * part %>%; background: #444"></div>'
    "</div>"
    '<span style="min-width: 4.5em"><%- passes %><%- most %></span>'
    "</div>"
)
