"""What goes into an operation and what comes out: pydantic models, without a database and without Celery.

A door builds the input from what was typed, called or posted, and shows the output. What the store shows of its own
nouns is in `secretstore.views`; here is what operations ask for, and what they put together.
"""
