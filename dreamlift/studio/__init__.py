"""`dreamlift studio`: a page in the browser, and an HTTP API, over one queue of clips and objects.

The queue (`jobs`), what it makes (`clips`, `objects`) and the output folder (`library`) know neither HTTP nor
the page. `api` serves them over HTTP, `page` draws them with Gradio, `server` puts both behind one guard.
"""
