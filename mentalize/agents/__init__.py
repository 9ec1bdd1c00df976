"""Who thinks: one agent a file, and the code that routes, selects and plans.

An agent is a frozen dataclass with one typed `async __call__`: make the prompt's inputs, ask, return one value.
Errors go up: the graph decides what a failed stage costs.
"""
