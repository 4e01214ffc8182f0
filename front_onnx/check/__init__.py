"""Checking: is a model valid, does it run, are its outputs finite?"""
