"""Local servers that adapters are tested against, over sockets on loopback."""
