"""The program as a black box between a simulated cloud and a recording receiver, killed and starved on purpose.

`truth` decides what the cloud shows and so what must be told, `cloud` shows it, `receiver` notes what arrives, `killer`
starts and ends the processes, `hosts` breaks what they stand on, `ledger` compares, `house` puts all of it together,
`run` is the command, `broken` the proof that the comparison finds what it is there to find.
"""
