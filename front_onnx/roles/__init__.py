"""What every weight is there for: query, key, gate, norm gain ..., from how data flow."""
