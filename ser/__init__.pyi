from ser.serving.recogniser import load as load

__version__: str

class SerError(Exception): ...
