"""The program as a black box between a simulated cloud and a recording receiver, while processes and hosts fail.

`oracle` decides what the cloud shows, and from that which events must be notified; `cloud` shows it; `receiver` records
the arrivals; `killer` starts and kills the processes; `hosts` breaks disk, database and clock; `ledger` compares;
`harness` combines them; `run` is the command. `mistakes` proves that the comparison detects mistakes.
"""
