"""The JSON Schema of a manifest, for editors: draft 7, in the form that schemastore.org takes.

    document      the whole schema, made of the shapes of `parser`
    descriptions  what each key is for, with its default and an example

It refuses rules between keys: an override or a base has only some of a service's keys, and an editor sees one file.
"""
