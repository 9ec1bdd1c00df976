"""A local vLLM: an environment of its own, and a server in it that is watched over. It is spoken to by HTTP only.

Its packages contradict ours, so nothing of it is imported here.
"""
