"""HTTP for internal UIs, and the console: speaks gRPC to the services and imports none of them."""
