"""Planning: every size and every edit that a request needs, as data; all refusals."""
