"""The operations over HTTP: for who has a server's URL and a token, and neither a database nor a broker.

`choosing` says which door is meant, `server` asks, `errands` are the operations that stream, or have a part on this
side: files are read here, values are sealed here.
"""
