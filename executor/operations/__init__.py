"""What a person can do, a module per noun. Every door is thin over it.

Each operation is a function of the deployment, who asks, and what is asked (`executor.schemas`). It checks, acts, and
leaves the audit entry. `rights` says of each which verb it takes, and on what.
"""
