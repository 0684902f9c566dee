"""
GitHub issues: issues and comments in, comments and labels back.

    connections:
      code:
        connector: github
        token: ${env:GITHUB_TOKEN}
        webhook_secret: ${env:GITHUB_HOOK}

The webhook sends `issues` and `issue_comment` as `application/json` to `/in/<connection>`. The token is
a fine-grained one with *Issues: read and write*; give it an account of its own, so that what we write
can be told from what people write.
"""
