"""Asks the gateway once, and prints its status and its JSON."""

import json
import os
import sys
import urllib.error
import urllib.request

URL, METHOD, PATH = sys.argv[1:4]
request = urllib.request.Request(URL + PATH, method=METHOD, headers={"authorization": f"Bearer {os.environ['HEADRACE_API_KEY']}"})
try:
    with urllib.request.urlopen(request, timeout=10) as answer:
        status, body = answer.status, answer.read()
except urllib.error.HTTPError as error:
    status, body = error.code, error.read()
print(json.dumps({"status": status, "body": json.loads(body or b"null")}))
