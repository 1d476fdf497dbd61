"""The copy of the log: a RabbitMQ stream that a relay fills from the database, and that followers may read (I9).

It can be dropped at any time, and is made again from the log. The broker is trusted as the database is: whoever may write
to the stream may deceive followers. For processes without grpc alone (I8).
"""
