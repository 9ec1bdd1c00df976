"""Middleware: mentalize around a chatbot that exists already, in whatever framework."""
