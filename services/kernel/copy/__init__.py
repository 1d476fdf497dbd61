"""The copy of the log: a RabbitMQ stream that a relay fills from the database, and that followers may read (I9).

It can be dropped at any time, and is made again from the log. For processes without grpc alone (I8).
"""
