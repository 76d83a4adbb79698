"""What the middleware and the routes tell one another, as keys of a request's ASGI scope."""

ROUTE = "cnnzoo.route"  # the template of its address, such as /models/{model}.onnx
MODEL = "cnnzoo.model"  # the name of the model it is about
REQUEST_ID = "cnnzoo.request_id"
ZOO = "cnnzoo.zoo"  # the models
