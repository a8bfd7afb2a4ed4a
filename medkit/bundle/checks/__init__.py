"""What `medkit bundle check` looks at, one subject a file.

What belongs here: generators that take a :class:`~medkit.bundle.checks.subject.Subject` and yield a problem
for each fault they find, one line that names file and key and says what to do. What does not: deciding which
of them run and turning exceptions into problems (``medkit.bundle.check``).
"""
