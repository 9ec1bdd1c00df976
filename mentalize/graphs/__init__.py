"""How agents are put together, on LangGraph."""
