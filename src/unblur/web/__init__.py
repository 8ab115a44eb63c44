"""`unblur web`: a page in the browser that restores photos on this machine.

`server` starts it, `app` answers its requests, `guard` refuses those of strangers. `sessions` holds what one open page
has sent, in memory, until the page is closed; `queue` and `jobs` restore photos one after the other. `page/` is what
the browser shows: plain HTML, CSS and JavaScript, without a build step and without anything from another server.
"""
