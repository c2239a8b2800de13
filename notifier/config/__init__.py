"""The configuration: one YAML file and the environment. No other part of the program reads the environment.

`loading` reads it whole, once, strictly. Importing this package imports nothing.
"""
