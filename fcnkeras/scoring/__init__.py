"""Scoring: a model's answers to single pictures, and to collections of any size.

| module | what it does |
|---|---|
| scorer | a model with its feeder and engine: from a picture to named results |
| listing | folders, patterns and lists as a stream of paths |
| reading | from a file to what the network is fed, with the digest of its bytes |
| engines, converted | Keras, or OpenVINO with the converted model kept beside the `.keras` file |
| runner | a list on one machine: decoding runs beside computing |
| store | what was found so far, in one file that survives whatever ends the run |
| tables | the finished table |
"""
