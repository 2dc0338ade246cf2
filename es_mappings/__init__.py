"""The contract: what a document is, and where documents and feature maps live."""
