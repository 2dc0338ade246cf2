"""HTTP requests and answers: headers, paths, bodies and errors."""
