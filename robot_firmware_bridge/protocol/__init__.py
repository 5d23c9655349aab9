"""The wire protocol: layout, frames and the host's session. Bytes only, no I/O and no clock."""
