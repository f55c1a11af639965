"""The bulk import client: reads orders from files and sends them to a server's public HTTP API.

It knows nothing of the server's inside: any server that speaks the documented API will do.
`command.run` is the door; `readers` turn files into orders, `importer` turns orders into requests.
"""
