"""The HTTP API (`--api`): AUTOMATIC1111's most used calls below `/sdapi/v1`, for programs that know that interface.

It does what the page does, with the same jobs and the same worker, and knows no component of the page. Shapes of requests and
replies are AUTOMATIC1111's; settings that a request leaves out are the model's own.
"""
