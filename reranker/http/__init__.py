"""One HTTP request and its answer: headers, paths, bodies and errors, each in one place."""
