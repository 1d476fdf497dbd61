"""gRPC servers of the API processes; never imported by workers (I8)."""
