"""What a Service's spec says must happen to a flow. Pure; knows no rules.

`world` indexes the objects, `expect` answers for one flow (`service`: at a Service's address,
`choice`: which endpoints), `balancer` adds the cloud's step. `targets` and `prediction` put words
such as `client` and `svc/web` to it, `dump` reads them from files, `text` writes the answer.
"""
