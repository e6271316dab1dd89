"""The peers that oncewatch is tested against, each started on loopback and ended by its own pid."""
