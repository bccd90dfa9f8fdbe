"""The pages that the API needs: log-in, the first admin, and what lets a command line in. Plain HTML, one style."""
